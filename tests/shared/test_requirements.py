"""Package names as text: one spelling for equal wishes, and nothing but names gets through."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.requirements import is_exact, normalise


def test_equal_wishes_are_spelled_the_same() -> None:
    asked = ["Py.YAML >= 6 , <7", "requests[socks,Use-Chardet]==2.*", "six"]
    spelled = ["six", "py_yaml<7,>=6", "requests[use_chardet,socks] ==2.*", " six "]
    assert (
        normalise(asked) == normalise(spelled) == ["py-yaml<7,>=6", "requests[socks,use-chardet]==2.*", "six"]
    )


def test_a_marker_is_kept() -> None:
    assert normalise(["tomli; python_version<'3.11'"]) == ['tomli ; python_version < "3.11"']


@pytest.mark.parametrize(
    ("requirement", "exact"),
    [("six==1.17.0", True), ("six", False), ("six==1.*", False), ("six>=1", False), ("six==1.0,<2", False)],
)
def test_only_one_version_is_exact(requirement: str, exact: bool) -> None:
    assert is_exact(normalise([requirement])[0]) is exact


REFUSED = [
    "",
    "six @ http://127.0.0.1/six-1.0-py3-none-any.whl",
    "six@file:///etc/passwd",
    "http://127.0.0.1/six-1.0-py3-none-any.whl",
    "git+https://example.test/six.git",
    "file:///tmp/six",
    "./six",
    "../six",
    "/tmp/six",
    "~/six",
    "six/../..",
    "-e six",
    "-r requirements.txt",
    "--index-url http://example.test six",
    "six --index-url http://example.test",
    "six\n--index-url http://example.test",
    "six\r\n-e .",
    "six\0",
    "six\t",
    "$HOME",
    "six==${HOME}",
    "`id`",
    "six; os_name == '$(id)' ; x",
    "six==../../x",
    "six===../x",
    "six # comment",
    "six \\",
    "ｓｉｘ",
    "s" * 201,
    "six_",
    "six[a_]",
]


@pytest.mark.parametrize("text", REFUSED)
def test_whatever_is_not_a_name_with_versions_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"dependency|==="):
        normalise(["good", text])


@example("i_")
@given(st.text(alphabet="six-._[]=<>!~;@:/ '\"\\\n\0$#(),*", max_size=20))
def test_what_gets_through_is_no_option_and_no_place(text: str) -> None:
    try:
        (spelled,) = normalise([text])
    except ValueError:
        return
    name = spelled.split(" ; ")[0]
    assert not name.startswith("-") and not set(name) & set("/\\@:$#\n\0'\" ")
    assert normalise([spelled]) == [spelled]
