"""
Answers that take time: sent in the order of the questions, a bounded number in flight,
each with a time limit.

Packages later in the package map than L{twisted_echo.session} may import this one, and
the session itself does not. Begin with L{twisted_echo.session.answers.answering}, then
read L{twisted_echo.session.answers.answer_queue}.
"""
