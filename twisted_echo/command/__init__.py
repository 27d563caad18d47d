"""
What the commands C{twistd echo} and C{twist echo} do and an embedded service must not:
signals, limits of the process, systemd, status reports.

Only L{twisted_echo.tap}, which parses the options and puts the parts together, may
import this package. Begin with L{twisted_echo.command.command_service}.
"""
