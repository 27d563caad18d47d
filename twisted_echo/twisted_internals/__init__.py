"""
The private parts of Twisted that this package leans on, all in one checked list.

Twisted promises nothing about them, so another version may lack one. A module that
needs some calls L{require<twisted_echo.twisted_internals.check.require>} when it is
imported. Under a Twisted that lacks one, the import fails with an error that names it,
instead of a connection failing later.

What must hold: every access of this package to a private name of Twisted's has its line
in L{twisted_echo.twisted_internals.table}, and no line is left over. A test reads the
source of all modules to check both.

It imports nothing else of C{twisted_echo}. Begin with the table.
"""
