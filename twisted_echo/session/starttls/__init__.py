"""
STARTTLS: TLS that begins in the middle of a session.

L{Session<twisted_echo.session.session.Session>} inherits from
L{start_tls<twisted_echo.session.starttls.start_tls>}; nothing else imports this
package. Begin with L{twisted_echo.session.starttls.start_tls}.
"""
