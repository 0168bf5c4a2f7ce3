"""The network: any packet out, any listener of the host, any family of sockets."""

from tests.sandbox.attack import Attack, reports, says

UNREACHABLE = ("ENETUNREACH", "ECONNREFUSED", "EADDRNOTAVAIL", "EHOSTUNREACH", "ENETDOWN")
REFUSED_FAMILY = ("EAFNOSUPPORT", "EPROTONOSUPPORT")


def connecting(family: str, address: str, kind: str = "SOCK_STREAM") -> str:
    return f"""
sock = socket.socket(socket.{family}, socket.{kind}); sock.settimeout(1)
attempt('connect', sock.connect, {address})
attempt('send', sock.send, b'x')
"""


def family(name: str, number: int, kind: int, protocol: int = 0) -> Attack:
    code = f"attempt('open', socket.socket, {number}, {kind}, {protocol})"
    return Attack(f"socket of {name}", code, reports(open=REFUSED_FAMILY))


UDP = """
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
attempt('listener', sock.sendto, b'x', ('127.0.0.1', int(world['udp'])))
attempt('outside', sock.sendto, b'x', ('8.8.8.8', 53))
attempt('broadcast', sock.sendto, b'x', ('255.255.255.255', 9))
attempt('multicast', sock.sendto, b'x', ('224.0.0.1', 9))
"""
INTERFACES = """
import fcntl
print('interfaces', *(line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line))
sock = socket.socket()
request = struct.pack('16sH14x', b'lo', 0)
attempt('down', fcntl.ioctl, sock, 0x8914, request)
attempt('address', fcntl.ioctl, sock, 0x8916, struct.pack('16sH2x4s8x', b'lo', 2, bytes([10, 0, 0, 1])))
attempt('route', fcntl.ioctl, sock, 0x890b, bytes(120))
attempt('device', sock.setsockopt, socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'eth0')
"""
# Its own loopback works, and is nobody else's: the neighbour takes the same port at the same time.
PORT = """
sock = socket.create_server(('127.0.0.1', 8082)); time.sleep(0.4)
sock.setblocking(False)
attempt('visitor', sock.accept)
"""
SAME_PORT = """
import socket
server = socket.create_server(('127.0.0.1', 8082))
client = socket.create_connection(('127.0.0.1', 8082)); server.accept()
print('served')
"""
LOCAL = "a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))"
PASSING = """
pair = socket.socketpair()
socket.send_fds(pair[0], [b'x'], [0, 1, 2])
print('own', len(socket.recv_fds(pair[1], 1, 3)[1]))
sock = socket.socket(socket.AF_UNIX); sock.settimeout(1)
attempt('host', sock.connect, world['path'])
"""

ATTACKS = [
    Attack(
        "TCP to a server of the host",
        connecting("AF_INET", "('127.0.0.1', int(world['tcp']))"),
        reports(connect="ECONNREFUSED", send="EPIPE"),
    ),
    Attack(
        "TCP to the world",
        connecting("AF_INET", "('1.1.1.1', 53)"),
        reports(connect="ENETUNREACH", send=("EPIPE", "ENOTCONN")),
    ),
    Attack(
        "UDP",
        UDP,
        reports(
            listener=("WORKED 1", "ECONNREFUSED"),
            outside="ENETUNREACH",
            broadcast="ENETUNREACH",
            multicast="ENETUNREACH",
        ),
    ),
    Attack(
        "IPv6 to the world",
        connecting("AF_INET6", "('2606:4700:4700::1111', 53)"),
        reports(connect=UNREACHABLE, send=("EPIPE", "ENOTCONN")),
    ),
    Attack(
        "IPv6 to the host",
        connecting("AF_INET6", "('::ffff:127.0.0.1', int(world['tcp']))"),
        reports(connect=UNREACHABLE, send=("EPIPE", "ENOTCONN")),
    ),
    Attack(
        "name lookup",
        "attempt('lookup', socket.getaddrinfo, 'example.com', 80)",
        reports(lookup=("gaierror(-2)", "gaierror(-3)")),
    ),
    Attack(
        "UNIX socket of the host",
        connecting("AF_UNIX", "world['path']"),
        reports(connect="ENOENT", send=("EPIPE", "ENOTCONN")),
    ),
    Attack(
        "abstract socket of the host",
        connecting("AF_UNIX", "'\\0' + world['abstract']"),
        reports(connect="ECONNREFUSED", send=("EPIPE", "ENOTCONN")),
    ),
    Attack("descriptors passed to the host", PASSING, reports(own="3", host="ENOENT")),
    Attack("a port of the executor", PORT, reports(visitor="EAGAIN"), neighbour=SAME_PORT),
    Attack(
        "network interfaces",
        INTERFACES,
        reports(interfaces="lo", down="EPERM", address="EPERM", route="EPERM", device=("EPERM", "ENODEV")),
    ),
    family("virtual machines", 40, 1),
    family("the kernel's ciphers", 38, 5),
    family("netlink", 16, 3),
    family("raw packets", 17, 3, 0x0300),
    family("raw IPv4", 2, 3, 1),
    family("raw IPv6", 10, 3, 58),
    family("ping", 2, 2, 1),
    family("SCTP", 2, 1, 132),
    family("multipath TCP", 2, 1, 262),
    family("CAN", 29, 3, 1),
    family("key management", 15, 3, 2),
    family("express data path", 44, 3),
    family("TIPC", 30, 2),
    family("Bluetooth", 31, 3, 1),
    Attack("local sockets, which are allowed", LOCAL, says("b'x'\n")),
]
