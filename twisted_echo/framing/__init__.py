"""
Splitters and receivers that turn bytes into lines and frames.

The splitters (L{lines<twisted_echo.framing.lines>} and
L{length_prefixed<twisted_echo.framing.length_prefixed>}) are pure: bytes in, lines or
frames out, nothing from Twisted. The receivers
(L{line_receiver<twisted_echo.framing.line_receiver>} and
L{string_receiver<twisted_echo.framing.string_receiver>}) are Twisted protocols over
them, and share one machine
(L{message_receiver<twisted_echo.framing.message_receiver>}). A new framing is a
L{Splitter<twisted_echo.framing.splitter.Splitter>} and a few lines for its receiver.

This package knows no session. Packages later in the package map may import it. Begin
with L{twisted_echo.framing.splitter}.
"""
