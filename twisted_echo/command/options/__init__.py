"""
The options of the command: their table, the values that they take, and the help, the
manual and the completion that are made of the table.

Modules of L{twisted_echo.command} and L{twisted_echo.tap} import it. Begin with
L{twisted_echo.command.options.option_table}.
"""
