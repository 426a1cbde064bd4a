"""The rows of the option table that belong to TLS."""

from dataclasses import dataclass

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.h2_options import H2Options
from trilithon.foundation.option_row import Section, row


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions(H2Options):
    """The part of `Options` that is about TLS."""

    certfile: str = row(
        "",
        Section.TLS,
        "PEM file with the server's certificate, the intermediate ones behind it; turns TLS on for every address.",
        metavar="FILE",
        everyday=True,
    )
    keyfile: str = row(
        "",
        Section.TLS,
        "PEM file with the private key; not needed when certfile holds it too.",
        metavar="FILE",
        everyday=True,
    )
    keyfile_password: str = row(
        "",
        Section.TLS,
        "Password of the private keys. Other users of the machine can read flags: prefer the variable or "
        "keyfile_password_file.",
        metavar="TEXT",
        secret=True,
    )
    keyfile_password_file: str = row(
        "",
        Section.TLS,
        "File whose first line is the password of the private keys.",
        metavar="FILE",
    )
    cert_dir: str = row(
        "",
        Section.TLS,
        "Directory of certificates, chosen by the name that the client asks for (SNI): NAME.pem with certificate and "
        "key, NAME.crt or NAME.pem beside NAME.key, or directories with fullchain.pem and privkey.pem. Where none "
        "matches, certfile is used, or without it the first by name.",
        metavar="DIRECTORY",
    )
    self_signed: bool = row(
        False,
        Section.TLS,
        "Make a certificate for development at start, which clients have to be told to trust.",
        everyday=True,
    )
    client_certs: str = row(
        "none",
        Section.TLS,
        "Whether clients are asked for a certificate, and whether one without is refused.",
        choices=("none", "optional", "required"),
    )
    ca_certs: str = row(
        "",
        Section.TLS,
        "PEM file with the authorities that certificates of clients must come from.",
        metavar="FILE",
    )
    tls_min_version: str = row(
        "1.2",
        Section.TLS,
        "Oldest version of TLS that is spoken.",
        choices=("1.2", "1.3"),
    )
    ciphers: str = row(
        "",
        Section.TLS,
        "Cipher suites for TLS 1.2 in OpenSSL's notation, the first that a client knows is taken; empty for those with "
        "forward secrecy and authenticated encryption. TLS 1.3 has its own.",
        metavar="SUITES",
    )
    tls_handshake_timeout_s: float = row(
        10.0,
        Section.TLS,
        "Time that a client has for the TLS handshake.",
        zero="no limit",
    )
    cert_reload_s: float = row(
        10.0,
        Section.TLS,
        "How often certificates, keys and ca_certs are looked at; changed ones are used for new connections.",
        zero="never",
    )


def uses_tls(options: TlsOptions) -> bool:
    """Tell whether the server speaks TLS."""
    return bool(options.certfile or options.cert_dir or options.self_signed)


def check_tls(options: TlsOptions) -> None:
    """Refuse what does not fit together; raises ConfigError. Whether files can be used is seen when they are read."""
    if not uses_tls(options):
        _check_off(options)
        return
    if options.self_signed:
        for name in ("certfile", "cert_dir", "keyfile_password", "keyfile_password_file"):
            if getattr(options, name):
                raise ConfigError("self_signed", True, f"makes its own certificate; remove it or {name}")
    if options.keyfile and not options.certfile:
        raise ConfigError("keyfile", options.keyfile, "belongs to a certificate; name that with certfile")
    if options.keyfile_password and options.keyfile_password_file:
        raise ConfigError(
            "keyfile_password_file", options.keyfile_password_file, "keyfile_password is given too; remove one"
        )
    if options.client_certs != "none" and not options.ca_certs:
        raise ConfigError(
            "client_certs",
            options.client_certs,
            "needs ca_certs, a PEM file with the authorities that certificates of clients come from",
        )
    if options.ca_certs and options.client_certs == "none":
        raise ConfigError(
            "ca_certs",
            options.ca_certs,
            "is for certificates of clients, which are not asked for; set client_certs to optional or required, and "
            "put the server's intermediate certificates into certfile",
        )
    if options.ciphers and options.tls_min_version == "1.3":
        raise ConfigError("ciphers", options.ciphers, "are those of TLS 1.2, which tls_min_version = 1.3 rules out")


def _check_off(options: TlsOptions) -> None:
    """Refuse what would be without effect, so that nobody serves in the clear believing otherwise."""
    given = {
        "keyfile": options.keyfile,
        "keyfile_password_file": options.keyfile_password_file,
        "ca_certs": options.ca_certs,
        "ciphers": options.ciphers,
        "client_certs": options.client_certs if options.client_certs != "none" else "",
        "tls_min_version": options.tls_min_version if options.tls_min_version != "1.2" else "",
    }
    if options.keyfile_password:
        raise ConfigError("keyfile_password", "...", "there is no key; name a certificate with certfile or cert_dir")
    for name, value in given.items():
        if value:
            raise ConfigError(name, value, "is about TLS, which is off; name a certificate with certfile or cert_dir")
