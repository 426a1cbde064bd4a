"""The demo site: a Flask part and a Starlette part, served together by one trilithon."""
