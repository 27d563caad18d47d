"""
What an operator sees of a service over HTTP: a status page, metrics, health, readiness,
sessions.

Packages later in the package map may import this one, and so may programs that embed a
service. Begin with L{twisted_echo.admin.pages}, whose extra is C{metrics};
L{twisted_echo.admin.status_view} needs none.
"""
