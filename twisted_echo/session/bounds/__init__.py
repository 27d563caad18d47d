"""
What bounds sessions: how many are admitted, how long a peer may take, and how much
memory they hold.

L{twisted_echo.session.factory} imports this package, and so may packages later in the
package map. Begin with L{twisted_echo.session.bounds.limits}.
"""
