"""A Django project in one file, served through WSGI and through ASGI."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import django
from django.conf import settings
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DEBUG=False,
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
        ],
        ROOT_URLCONF=__name__,
        SECRET_KEY="a secret for tests only",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        USE_TZ=True,
    )
    django.setup()

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.urls import path


def sync_view(request: HttpRequest) -> HttpResponse:
    """Answer from a plain function and say whether an event loop runs on its thread."""
    try:
        asyncio.get_running_loop()
        inside = True
    except RuntimeError:
        inside = False
    name = request.GET.get("name", "nobody")
    return JsonResponse({"hello": name, "loop": inside, "script": request.META.get("SCRIPT_NAME", "")})


async def async_view(request: HttpRequest) -> HttpResponse:
    """Answer from a coroutine that really waits."""
    await asyncio.gather(*[asyncio.sleep(0.001) for _ in range(3)])
    return JsonResponse({"async": True, "path": request.path})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Stream from a generator."""

    def lines() -> Iterator[bytes]:
        for number in range(200):
            yield b"line %d\n" % number

    return StreamingHttpResponse(lines(), content_type="text/plain")


async def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    """Stream from an asynchronous generator."""

    async def lines() -> AsyncIterator[bytes]:
        for number in range(200):
            if number % 50 == 0:
                await asyncio.sleep(0)
            yield b"line %d\n" % number

    return StreamingHttpResponse(lines(), content_type="text/plain")


def static_file(request: HttpRequest) -> FileResponse:
    """Send this file."""
    return FileResponse(Path(__file__).open("rb"), filename="django_site.py", content_type="text/x-python")


def upload(request: HttpRequest) -> HttpResponse:
    """Describe the uploaded file."""
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    return JsonResponse(
        {"name": file.name, "size": file.size, "digest": digest.hexdigest(), "note": request.POST["note"]}
    )


def echo(request: HttpRequest) -> HttpResponse:
    """Answer with the body."""
    return HttpResponse(request.body, content_type="application/octet-stream")


def count(request: HttpRequest) -> HttpResponse:
    """Count the visits in the session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


def fail(request: HttpRequest) -> HttpResponse:
    """Fail, on a thread with a name."""
    raise RuntimeError(f"the secret reason on {threading.current_thread().name}")


urlpatterns = [
    path("sync/", sync_view),
    path("async/", async_view),
    path("stream/", stream),
    path("async-stream/", async_stream),
    path("file/", static_file),
    path("upload/", upload),
    path("echo/", echo),
    path("count/", count),
    path("fail/", fail),
]

application = get_wsgi_application()
asgi_application = get_asgi_application()
