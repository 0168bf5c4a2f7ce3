"""CIDs from elsewhere: npm `ipfs-unixfs-importer` 17.1.1 with `cidVersion: 1`, `rawLeaves: true`,
`fixedSize({ chunkSize: 262144 })` and `balanced({ maxChildrenPerNode: 174 })`, which is
what `ipfs add --cid-version=1` does.
"""

from array import array
from collections.abc import Iterator

PUBLISHED = [
    ("zeros", 0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
    ("zeros", 5, "bafkreieikviivlpbn3cxhuq6njef37ikoysaqxa2cs26zxleqxpay2bzuq"),
    ("zeros", 262_144, "bafkreiekhhjkxu4ztk3tyng3er3ijhg56mb44oe3gwbgquhzu4afrg2ksa"),
    ("zeros", 262_145, "bafybeigllfqgfpqydppr6cmv56g7ax4wyhruzswvcefv6j5kj77nzttfki"),
    ("zeros", 1_000_000, "bafybeidide6lpcdutn3we5vvypssfhlq2n265w6dygwj37fyeklhlmfi34"),
    ("zeros", 45_613_056, "bafybeibxsa3ioclowpaq7b6gxl65gzqneopfr3fnhedak6sqr4bjz5lnyq"),
    ("zeros", 45_613_057, "bafybeihqwzd3o6q6v3pmwhzjy22vokhr767burokmqemg63hptx2nqd7ym"),
    ("zeros", 60_000_000, "bafybeifqrd53ujn22g76dsr7ze6js3ovgmbcqq2n7lafdxfj266s6uhhri"),
    ("zeros", 91_226_112, "bafybeigbbtzlzpitbdkziebtgdtwklm754jbnqz5hdbbc5apukpdbgqdte"),
    ("counter", 0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
    ("counter", 5, "bafkreiav6ly2im47l4vdco4vafok3aje2bkkc4nmf4y46uu53j6pw2rywq"),
    ("counter", 262_144, "bafkreickgwszvk7tssw3dwb43jwtyltzsvj6gw5h4txfku34rlosbfjsu4"),
    ("counter", 262_145, "bafybeighp4oom4wr7bokfuxsg3yrmxtbv6utbaropfgcudvjevnooskhe4"),
    ("counter", 1_000_000, "bafybeiai756r45myzzfj6dkplpf5opll4maincjopzxnjw2jrnvup44mpa"),
    ("counter", 45_613_056, "bafybeig4vqmyrabzshfrjzatdebg6wrtl5pqose32fvdt7qykajn7n63fe"),
    ("counter", 45_613_057, "bafybeiame6rxulbgikgamqxmqlq2emnkahg6jgkospdg4dcb5vlbtuj5hi"),
    ("counter", 60_000_000, "bafybeifpdxkumrjkdvb6wp7emfguocpddtyjupxdv3zoucxixqwb7ybjhi"),
    ("counter", 91_226_112, "bafybeib2aijsn3wfccmz4wg3fgj3nnfpz2metnzgemhru4nl7fybdztxn4"),
]
"""Kind of content, size in bytes, CID."""
HELLO_WORLD = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"
"""Of `hello world` and a newline, as IPFS' own documents print it."""

SMALL = {
    1: "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu",
    2: "bafkreifucp2h2e7of7tmqrns5ykbv6a55bmn6twfjgsyw6lqxolgiw6i2i",
    3: "bafybeifqmrb4pqp2ume5af6ubd7yemlmwag6647rcgarkb6gaqnw6p7lca",
    6: "bafybeia7mk3ljigvxaqlzqapyo22hivsja2n5tdjmhpqvvzheoyaribela",
    7: "bafybeidekcsuxd2osukdsjfy3hbgh6wg2t52xofuuem4a4ix27yygushve",
    18: "bafybeigtkqlbe3phae66j32deylpozkmknrhqsni5jqmiwm7emp45fbjem",
    19: "bafybeid2rklaq5xxc74ohopvhxcfzzrvhoaszot3t2pejv5so55kdiay7y",
    20: "bafybeia5lgmvhav6wdgi5d7mnmefucxkz6ojcutjvkpe2pmikck6rygsfm",
    54: "bafybeibobrm4qbnywr4gein6wgltwtvct5flrhpo34f4tercsvpavqqe6i",
    55: "bafybeibov76naoxumcildibdk4xcbtup5ufqzukvvx7nfwnzdldkxng6ey",
    61: "bafybeievheiujxndwcp43qkypqniasddyrnvgwkztbunmsfa4qlqqyww6m",
    163: "bafybeicb37szpsjclgcblynaudafpjb3nae544r4t7tgl7wdci5ag3wmma",
}
"""The same package at chunks of 2 bytes and 3 links a node, over the bytes 0, 1, 2, …: CIDs by size in bytes.
The third level of nodes, which a file of ours has from 7.9 GB on, begins at 19 bytes, the fourth at 55."""
PORTION_BYTES = 1 << 20


def content(kind: str, size_bytes: int) -> Iterator[bytes]:
    """Zeros, or a counter: each four bytes are their own number, little-endian. In portions of 1 MiB."""
    for at in range(0, size_bytes, PORTION_BYTES):
        portion = min(PORTION_BYTES, size_bytes - at)
        if kind == "zeros":
            yield bytes(portion)
        else:
            yield array("I", range(at // 4, (at + portion + 3) // 4)).tobytes()[:portion]
