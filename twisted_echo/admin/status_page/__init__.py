"""
The status page of the admin port, for people: four answers about a service, and the
figures behind them.

The pages of L{twisted_echo.admin} alone import it. Begin with
L{twisted_echo.admin.status_page.page}.
"""
