"""A WSGI application with one page, which gunicorn serves for tests/programs/clients_page.rs."""


def app(environ, start_response):
    found = environ["PATH_INFO"] == "/"
    start_response("200 OK" if found else "404 Not Found", [("Content-Length", "0")])
    return []
