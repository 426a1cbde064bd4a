"""All questions there are, in the order in which they are measured and reported."""

from benchmarks.cases import CASES, Case
from benchmarks.claim_cases import CLAIM_CASES
from benchmarks.file_cases import FILE_CASES
from benchmarks.http2_cases import HTTP2_CASES
from benchmarks.socket_cases import SOCKET_CASES

ALL_CASES: tuple[Case, ...] = (*CASES, *HTTP2_CASES, *FILE_CASES, *SOCKET_CASES, *CLAIM_CASES)
