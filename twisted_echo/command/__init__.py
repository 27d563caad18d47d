"""
What only the commands C{twistd echo} and C{twist echo} do, and no embedder should
have done to him: signals, limits of the process, what operators look at.

L{twisted_echo.tap} reads the options and puts it together; nothing else imports it.
"""
