"""
Answers that take time: in the order of the questions, some at once, each within its
time.

Packages later in the README's map than L{twisted_echo.session} may import this one; the
session itself does not. Begin with L{twisted_echo.session.answers.answering}, then read
L{twisted_echo.session.answers.answer_queue}.
"""
