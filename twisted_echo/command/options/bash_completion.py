"""
The completion for bash of C{twistd echo} and C{twist echo}, made of the table of
options. (Twisted has that of zsh.)

What must hold: a command line with another plugin than C{echo} is completed as bash
does it without this file.
"""

from collections.abc import Iterable, Iterator, Mapping

from twisted_echo.command.options.help import GROUPS
from twisted_echo.command.options.option import Option
from twisted_echo.command.options.option_parsers import endpoint
from twisted_echo.command.options.option_table import OPTIONS
from twisted_echo.endpoints.string_options import KINDS, optionNames
from twisted_echo.tls.options import PATH_OPTIONS

__all__ = ["COMMANDS", "REACTORS", "bashCompletion"]

REACTORS = ("eager", "eager-asyncio", "asyncio", "default", "epoll", "poll", "select")
"""
The values of C{--reactor} that are offered.
"""

_FILES, _FOLDERS = "_twisted_echo_paths -f", "_twisted_echo_paths -d"
_NOTHING = ":"


def _words(words: Iterable[str]) -> str:
    return f'_twisted_echo_offer "$before" {" ".join(words)}'


COMMANDS: Mapping[str, Mapping[tuple[str, ...], str]] = {
    "twistd": {
        ("--nodaemon", "-n"): "",
        ("--debug", "-b"): "",
        ("--no_save", "-o"): "",
        ("--encrypted", "-e"): "",
        ("--euid",): "",
        ("--syslog",): "",
        ("--help",): "",
        ("--version",): "",
        ("--pidfile",): _FILES,
        ("--logfile", "-l"): _FILES,
        ("--logger",): _words(["twisted_echo.logs.json"]),
        ("--reactor", "-r"): _words(REACTORS),
        ("--uid", "-u"): "_twisted_echo_names -u",
        ("--gid", "-g"): "_twisted_echo_names -g",
        ("--umask",): _NOTHING,
        ("--prefix",): _NOTHING,
        ("--chroot",): _FOLDERS,
        ("--rundir", "-d"): _FOLDERS,
        ("--profile", "-p"): _FILES,
        ("--profiler",): _words(["cprofile", "profile"]),
        ("--file", "-f"): _FILES,
        ("--python", "-y"): _FILES,
        ("--source", "-s"): _FILES,
    },
    "twist": {
        ("--help",): "",
        ("--version",): "",
        ("--reactor",): _words(REACTORS),
        ("--log-file",): _FILES,
        ("--log-format",): _words(["json", "text"]),
        ("--log-level",): _words(["debug", "info", "warn", "error", "critical"]),
    },
}
"""
The options of Twisted's commands, each under its names, with the command of the script
that completes its value; empty, if it takes none.
"""

_SCRIPT = r"""# Completion for bash of "twistd echo" and "twist echo". Made by python -m
# twisted_echo.command.options.generated_files of the table of options. Do not edit it.

# Complete the words of a command line before the cursor. $current is the last of them;
# readline replaces only the end of it, and keeps $kept.
_twisted_echo() {
    local IFS=$' \t\n' line=${COMP_LINE:0:COMP_POINT} replaced=$2
    local -a words
    local current kept context options takes='^$' value before last index=1
    COMPREPLY=()
    # COMP_WORDS is of no use: its words end at each = and : as well.
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    last=$((${#words[@]} - 1))
    ((last > 0)) || return 0
    current=${words[last]}
    [[ $replaced == [=:] ]] && replaced=
    [[ $current == *"$replaced" ]] || return 0
    kept=${current%"$replaced"}

    _twisted_echo_options "${words[0]##*/}"
    _twisted_echo_skip
    if ((index < last)); then
        [[ ${words[index]} == echo ]] || return 0
        compopt +o bashdefault +o default
        _twisted_echo_options echo
        ((index++))
        _twisted_echo_skip
        ((index < last)) && return 0
    fi

    if ((index > last)); then
        value=$current before=
        _twisted_echo_value "${words[last - 1]}"
    elif [[ $current == --*=* ]]; then
        value=${current#*=} before=${current%%=*}=
        _twisted_echo_value "${current%%=*}"
    elif [[ $current == -* || $context == echo ]]; then
        _twisted_echo_offer "" $options
    elif [[ -n $current ]]; then
        _twisted_echo_offer "" echo
    fi
    # A word that goes on has no space behind it.
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=:] ]]; then
        compopt -o nospace
    fi
    return 0
}

# Go on from the word at $index to the first that is neither an option nor the value of
# one; beyond the last, if that is such a value.
_twisted_echo_skip() {
    while ((index < last)) && [[ ${words[index]} == -* ]]; do
        [[ ${words[index]} =~ $takes ]] && ((index++))
        ((index++))
    done
}

# Offer words, with something before each of them.
_twisted_echo_offer() {
    local word
    for word in "${@:2}"; do
        word=$1$word
        [[ $word == "$current"* ]] && COMPREPLY+=("${word#"$kept"}")
    done
}

# Offer the files (-f) or folders (-d) that begin with a path, or with the value.
_twisted_echo_paths() {
    local path=${2-$value} found
    while IFS= read -r found; do
        found=${current%"$path"}$found
        COMPREPLY+=("${found#"$kept"}")
    done < <(compgen "$1" -- "$path")
    compopt -o filenames
}

# Offer the names of users (-u) or groups (-g).
_twisted_echo_names() {
    _twisted_echo_offer "$before" $(compgen "$1" -- "$value")
}

# Complete an endpoint: its kind, the names of its options, and paths.
_twisted_echo_endpoint() {
    local rest=${value#haproxy:} part
    part=${rest##*:} before=${current%"${rest##*:}"}
    if [[ $rest != *:* ]]; then
        _twisted_echo_offer "$before" @KINDS@
        [[ $rest == "$value" ]] && _twisted_echo_offer "$before" haproxy:
    elif [[ $part == @(@PATHS@)=* ]]; then
        _twisted_echo_paths -f "${part#*=}"
    elif [[ $rest == unix:"$part" || $rest == tls:"$part" ]]; then
        _twisted_echo_paths -f "$part"
    elif [[ $part != *=* ]]; then
        case $rest in
@ENDPOINTS@
        esac
    fi
}

# Set the options of a command, and a pattern of the ones that take a value.
_twisted_echo_options() {
    context=$1
    case $context in
@OPTIONS@
    esac
}

# Complete the value of an option. (Of short ones together the last takes it.)
_twisted_echo_value() {
    local option=$1
    [[ $option == -[!-]* ]] && option=-${option: -1}
    case "$context $option" in
@VALUES@
    esac
}

complete -o bashdefault -o default -F _twisted_echo twistd twist
"""


def bashCompletion() -> str:
    """
    Write the script.
    """
    commands = {**COMMANDS, "echo": dict(_echo())}
    return (
        _SCRIPT.replace("@KINDS@", " ".join(f"{each}:" for each in KINDS))
        .replace("@PATHS@", "|".join(PATH_OPTIONS))
        .replace("@ENDPOINTS@", "\n".join(_endpoints()))
        .replace("@OPTIONS@", "\n".join(map(_optionsOf, commands, commands.values())))
        .replace("@VALUES@", "\n".join(map(_valuesOf, commands, commands.values())))
    )


def _echo() -> Iterator[tuple[tuple[str, ...], str]]:
    """
    The options of the echo service, in the order of the help.
    """
    options = {each.name: each for each in OPTIONS}
    for _, names, _ in GROUPS:
        for name in names:
            option = options.get(name)
            if option is None:
                yield (f"--{name}",), ""
            elif option.letter is None:
                yield (f"--{name}",), _valueOf(option)
            else:
                yield (f"--{name}", f"-{option.letter}"), _valueOf(option)


def _valueOf(option: Option) -> str:
    if option.choices is not None:
        return _words(each.value for each in option.choices)
    return "_twisted_echo_endpoint" if option.parse is endpoint else _NOTHING


def _endpoints() -> Iterator[str]:
    for kind in KINDS:
        # In an order of ours, whatever that of Twisted's functions is.
        names = " ".join(f"{name}=" for name in sorted(optionNames(kind)))
        yield f"            {kind}:*)"
        yield f'                _twisted_echo_offer "$before" {names}'
        yield "                ;;"


def _optionsOf(command: str, options: Mapping[tuple[str, ...], str]) -> str:
    """
    A case of C{_twisted_echo_options}.
    """
    offered = [f"{names[0]}{'=' if value else ''}" for names, value in options.items()]
    takes = [names for names, value in options.items() if value]
    long = "|".join(names[0].removeprefix("--") for names in takes)
    letters = "".join(name[1] for names in takes for name in names[1:])
    flags = "".join(
        name[1] for names, value in options.items() if not value for name in names[1:]
    )
    pattern = f"--({long})"
    if letters:
        pattern += f"|-[{flags}]*[{letters}]" if flags else f"|-[{letters}]"
    return (
        f"        {command})\n"
        f'            options="{" ".join(offered)}"\n'
        f"            takes='^({pattern})$'\n"
        "            ;;"
    )


def _valuesOf(command: str, options: Mapping[tuple[str, ...], str]) -> str:
    """
    Cases of C{_twisted_echo_value}.
    """
    cases = []
    for names, value in options.items():
        if value not in ("", _NOTHING):
            patterns = " | ".join(f'"{command} {name}"' for name in names)
            cases.append(f"        {patterns})\n            {value}\n            ;;")
    return "\n".join(cases)
