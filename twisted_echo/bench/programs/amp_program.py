"""
AMP: a command with two arguments, which sends them back.
"""

from collections.abc import Sequence
from typing import ClassVar

from twisted.internet.protocol import Factory
from twisted.protocols import amp

from twisted_echo.bench.programs.dialogue import DialogueProgram, DialogueStep

TEXT = "some words"
NUMBER = 42


class EchoCommand(amp.Command):
    commandName = b"Echo"
    arguments: ClassVar = [(b"text", amp.Unicode()), (b"number", amp.Integer())]
    response: ClassVar = arguments


class EchoAMP(amp.AMP):
    @EchoCommand.responder
    def echo(self, text: str, number: int) -> dict[str, object]:
        return {"text": text, "number": number}


class AMPProgram(DialogueProgram):
    @property
    def operation(self) -> Sequence[DialogueStep]:
        arguments = {b"text": TEXT.encode(), b"number": b"%d" % NUMBER}
        question = amp.AmpBox(
            _ask=b"1",
            _command=EchoCommand.commandName,
            **{name.decode(): value for name, value in arguments.items()},
        )
        answer = amp.AmpBox(_answer=b"1")
        answer.update(arguments)
        return (DialogueStep(question.serialize(), answer.serialize()),)

    def factory(self) -> Factory:
        return Factory.forProtocol(EchoAMP)


program = AMPProgram()
