"""The folder for results, which the executor reads after the run: links, oddities, too much of it."""

from executor.sandbox.limits import LIMITS
from shared.jobs import RunResult
from tests.sandbox.attack import Attack, Expect, Verdict, both, reports, tail

# Names that are harmless in a listing of `out` and harmful anywhere else.
NAMES = ["a\nb", "-rf", "..\\..\\up", ".hidden", "x" * 255, "caf\u00e9", "$(id)", "main.py"]
ODD_NAMES = f"""
for name in {NAMES!r}: open('/box/out/' + name, 'w').write('text')
open(b'/box/out/\\xff\\xfe', 'w').write('text')
attempt('upwards', open, '/box/out/../../usr/up', 'w')
"""
LINKED_FOLDER = """
import shutil
shutil.rmtree('/box/out'); os.symlink(world['folder'], '/box/out'); print('begun')
"""
LINKED_FILES = """
for name in 'secret', 'socket': os.symlink(world['folder'] + '/' + name, '/box/out/' + name)
os.symlink('/proc/self/environ', '/box/out/environ'); os.symlink('/etc/passwd', '/box/out/passwd')
os.symlink('../../..' + world['folder'] + '/secret', '/box/out/upwards')
print('begun')
"""
LINKED_TWICE = """
os.symlink(world['folder'], '/box/inner')
os.rename('/box/out', '/box/kept'); os.symlink('inner', '/box/out'); print('begun')
"""
HARD_LINKS = """
attempt('passwd', os.link, '/etc/passwd', '/box/out/passwd')
attempt('program', os.link, '/usr/bin/env', '/box/out/env')
attempt('proc', os.link, '/proc/self/maps', '/box/out/maps')
"""
DEVICES = """
import stat
attempt('null', os.mknod, '/box/out/null', stat.S_IFCHR | 0o666, os.makedev(1, 3))
attempt('disk', os.mknod, '/box/out/disk', stat.S_IFBLK | 0o666, os.makedev(254, 0))
os.mkfifo('/box/out/fifo'); socket.socket(socket.AF_UNIX).bind('/box/out/socket')
os.mkdir('/box/out/folder'); print('begun -')
"""
NO_FOLDER = "rm -r out; mkfifo out; echo begun"
GIANTS = """
for number in range(3): os.truncate(os.open(f'/box/out/giant{number}', os.O_CREAT | os.O_WRONLY), 1 << 40)
open('/box/out/small', 'w').write('kept'); print('begun')
"""
MANY = "for number in range(3000): open(f'/box/out/{number:04}', 'w').close()\nprint('begun')"
DEEP = """
os.chdir('/box/out')
for _ in range(2000): os.mkdir('deeper'); os.chdir('deeper')
print('begun')
"""
CLOSED = """
open('/box/out/a', 'w').write('x'); os.chmod('/box/out/a', 0); os.chmod('/box/out', 0)
print('begun')
"""


def holds(*names: str, left_out: bool = False) -> Expect:
    """It had begun, and exactly these came back."""

    def expect(result: RunResult) -> Verdict:
        held = [file.name for file in result.files] == sorted(names) and "begun" in result.stdout
        held = held and result.truncated.files == left_out and result.exit_code == 0
        return None if held else f"came back: {[file.name for file in result.files]} ({tail(result)})"

    return expect


def all_names(result: RunResult) -> Verdict:
    came = {file.name: file.content for file in result.files}
    held = all(came.get(name) == "text" for name in NAMES) and len(came) == len(NAMES) + 1
    return None if held else f"came back: {came} ({tail(result)})"


def few(result: RunResult) -> Verdict:
    held = len(result.files) in {LIMITS.files_out, LIMITS.files_out - 1} and result.truncated.files
    return None if held and "begun" in result.stdout else f"{len(result.files)} files ({tail(result)})"


def any_of_it(result: RunResult) -> Verdict:
    return None if "begun" in result.stdout and result.exit_code == 0 else tail(result)


ATTACKS = [
    Attack("results folder linked to the host", LINKED_FOLDER, holds()),
    Attack("results folder linked twice", LINKED_TWICE, holds()),
    Attack("results linked to the host", LINKED_FILES, holds()),
    Attack(
        "results hard-linked to the system",
        HARD_LINKS,
        reports(passwd="EXDEV", program="EXDEV", proc="EXDEV"),
    ),
    Attack("results that are devices", DEVICES, both(reports(null="EPERM", disk="EPERM"), holds())),
    Attack("results folder replaced by a FIFO", NO_FOLDER, holds(), "bash"),
    Attack("results of a terabyte", GIANTS, holds("small", left_out=True)),
    Attack("results by the thousand", MANY, few),
    Attack("results two thousand folders deep", DEEP, holds()),
    Attack("results nobody may read", CLOSED, any_of_it),
    Attack("results with odd names", ODD_NAMES, both(all_names, reports(upwards="EROFS"))),
]
