"""
What the commands C{twistd echo} and C{twist echo} do, and a service that is embedded in
another program does not: signals, limits of the process, systemd, status reports.

Only L{twisted_echo.tap} may import this package. It parses the options and puts the
parts together. Begin with L{twisted_echo.command.command_service}.
"""
