"""All questions there are, in the order in which they are measured and reported, and all servers."""

from benchmarks.balance_cases import BALANCE_CASES
from benchmarks.balance_servers import WORKER_SERVERS
from benchmarks.cases import CASES, Case
from benchmarks.claim_cases import CLAIM_CASES
from benchmarks.file_cases import FILE_CASES
from benchmarks.http2_cases import HTTP2_CASES
from benchmarks.replacing_cases import REPLACING_CASES, SCALING_CASES
from benchmarks.servers import SERVERS, Server
from benchmarks.socket_cases import SOCKET_CASES

ALL_CASES: tuple[Case, ...] = (
    *CASES,
    *HTTP2_CASES,
    *FILE_CASES,
    *SOCKET_CASES,
    *CLAIM_CASES,
    *BALANCE_CASES,
    *SCALING_CASES,
    *REPLACING_CASES,
)
ALL_SERVERS: tuple[Server, ...] = (*SERVERS, *WORKER_SERVERS)
