"""What a snippet gets and what its caller gets back."""

import base64
import gc
import os
import time
from pathlib import Path

import pytest

from executor.sandbox.engine import Sandbox
from tests.executor.conftest import Run, descendants, until

HELLO = {
    "python": "import sys; print('hello', sys.version.split()[0])",
    "javascript": "console.log('hello', process.versions.node)",
    "bash": 'echo "hello ${BASH_VERSION%%(*}"',
}


@pytest.mark.parametrize("language", ["python", "javascript", "bash"])
async def test_each_language_runs_and_names_its_version(run: Run, sandbox: Sandbox, language: str) -> None:
    if language not in sandbox.runtimes:
        pytest.skip(f"no {language} on this machine")
    result = await run(HELLO[language], language)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"hello {result.version}\n"
    assert result.isolation.startswith("bubblewrap+")


async def test_exit_code_three_is_a_result_and_no_failure(run: Run) -> None:
    result = await run("exit 3", "bash")
    assert (result.exit_code, result.signal, result.timed_out) == (3, None, False)


async def test_a_signal_that_ends_the_code_is_named(run: Run) -> None:
    result = await run("import os; os.abort()")
    assert (result.exit_code, result.signal) == (None, "SIGABRT")


async def test_stdin_args_files_and_env_arrive(run: Run) -> None:
    code = (
        "import os, sys, helper\n"
        "print(sys.argv[1:], sys.stdin.read(), os.environ['COLOUR'], helper.WORD,"
        " open('raw.bin', 'rb').read(), os.getcwd())"
    )
    result = await run(
        code,
        stdin="spoken",
        args=["a b", "--x"],
        env={"COLOUR": "blue"},
        files=[
            {"name": "helper.py", "content": "WORD = 'helped'"},
            {"name": "raw.bin", "content": base64.b64encode(b"\0\xff").decode(), "encoding": "base64"},
        ],
    )
    assert result.stdout == "['a b', '--x'] spoken blue helped b'\\x00\\xff' /box\n", result.stderr


async def test_a_megabyte_of_stdin_that_nobody_reads_does_not_hang(run: Run) -> None:
    result = await run("print('done')", stdin="x" * 1_000_000)
    assert result.stdout == "done\n"


async def test_a_megabyte_of_stdin_arrives_whole(run: Run) -> None:
    result = await run("import sys; print(len(sys.stdin.read()))", stdin="x" * 1_000_000)
    assert result.stdout == "1000000\n"


async def test_the_wall_clock_ends_a_run(run: Run) -> None:
    started = time.monotonic()
    result = await run("while True: pass", timeout=0.5)
    assert time.monotonic() - started < 10
    assert (result.timed_out, result.exit_code, result.signal) == (True, None, "SIGKILL")
    assert 450 <= result.execution_time < 8000


async def test_a_flood_of_output_is_cut_and_stopped(run: Run) -> None:
    result = await run("import sys\nwhile True: sys.stdout.write('x' * 65536)")
    assert result.truncated.stdout and not result.truncated.stderr
    assert len(result.stdout) == 256 * 1024
    assert result.signal == "SIGKILL" and not result.timed_out


async def test_much_output_below_the_flood_is_cut_but_ends_by_itself(run: Run) -> None:
    result = await run("import sys; sys.stderr.write('y' * 1_000_000)")
    assert (result.exit_code, len(result.stderr), result.truncated.stderr) == (0, 256 * 1024, True)


async def test_broken_utf8_is_replaced_and_lossless_in_base64(run: Run) -> None:
    code = "import sys; sys.stdout.buffer.write(b'a\\xff\\x00b')"
    assert (await run(code)).stdout == "a\ufffd\0b"
    exact = await run(code, encoding="base64")
    assert base64.b64decode(exact.stdout) == b"a\xff\0b"
    assert exact.encoding == "base64"


async def test_closing_stdout_early_does_not_end_the_run(run: Run) -> None:
    code = "import os, time\nos.close(1)\ntime.sleep(0.3)\nos.write(2, b'still here')\nos._exit(5)"
    result = await run(code)
    assert (result.exit_code, result.stderr) == (5, "still here")


async def test_dev_stdout_and_dev_stderr_can_be_opened(run: Run) -> None:
    result = await run("echo one > /dev/stdout; echo two > /dev/stderr", "bash")
    assert (result.stdout, result.stderr, result.exit_code) == ("one\n", "two\n", 0)


async def test_output_files_come_back_and_only_regular_ones(run: Run) -> None:
    code = """
    cd out; printf text > a.txt; printf '\\xff\\x00' > b.bin
    ln -s /etc/passwd link; ln -s a.txt inner; mkfifo pipe; mkdir folder; echo x > folder/c
    """
    result = await run(code, "bash")
    assert {(f.name, f.content, f.encoding, f.size_bytes) for f in result.files} == {
        ("a.txt", "text", "utf-8", 4),
        ("b.bin", base64.b64encode(b"\xff\0").decode(), "base64", 2),
    }


async def test_an_out_folder_that_became_a_symlink_is_not_followed(run: Run) -> None:
    result = await run("rmdir out; ln -s /etc out", "bash")
    assert (result.exit_code, result.files) == (0, [])


async def test_output_files_beyond_the_limit_are_left_out_and_that_is_said(run: Run) -> None:
    result = await run("head -c 9000000 /dev/zero > out/big; echo ok > out/small", "bash")
    assert [file.name for file in result.files] == ["small"]
    assert result.model_dump()["truncated"]["files"] is True


async def test_time_and_memory_are_measured(run_any: Run) -> None:
    code = "import time\nx = b'x' * (100 << 20)\nend = time.process_time() + 0.3\n"
    code += "while time.process_time() < end: pass"
    result = await run_any(code)
    assert result.cpu_time_ms is not None and 250 <= result.cpu_time_ms < 3000
    assert result.peak_memory_bytes is not None and 100 << 20 <= result.peak_memory_bytes < 300 << 20


async def test_nothing_lives_on_after_a_run_that_daemonises(run_any: Run) -> None:
    code = "(setsid sleep 300 >/dev/null 2>&1 &) ; (setsid sleep 300 &) ; sleep 0.1; echo gone"
    result = await run_any(code, "bash")
    assert (result.stdout, result.timed_out) == ("gone\n", False)
    assert descendants(os.getpid()) == []


async def test_no_zombie_is_left_by_runs_that_end_in_any_way(run: Run) -> None:
    await run("print(1)")
    await run("while True: pass", timeout=0.2)
    await run("import os\nwhile os.fork(): pass\nos._exit(0)", timeout=0.5)
    assert await until(lambda: descendants(os.getpid()) == [])


async def test_no_descriptor_is_left_open_by_runs(run: Run) -> None:
    def count() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    await run("print(1)")
    gc.collect()  # what earlier tests of this process left behind is closed now, and not in between
    before = count()
    for _ in range(5):
        await run("print(1)", files=[{"name": "a", "content": "b"}])
        await run("while True: pass", timeout=0.1)
    assert await until(lambda: count() <= before)  # the helper of the cgroups opens files, now or before
