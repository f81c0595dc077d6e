# Two stages: the environment is built with pip, the image that runs holds neither pip's cache nor a compiler.
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/shoal \
 && /opt/shoal/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY connectors connectors
COPY models models
COPY flows flows
COPY dashboards dashboards
RUN /opt/shoal/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="shoal" \
      org.opencontainers.image.description="Streaming monitor of crypto market structure" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --home-dir /var/lib/shoal --create-home shoal
COPY --from=build /opt/shoal /opt/shoal
ENV PATH=/opt/shoal/bin:$PATH PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/var/lib/shoal/numba
USER shoal
WORKDIR /var/lib/shoal
VOLUME /var/lib/shoal
EXPOSE 8787
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8787/healthz', timeout=4)"]
ENTRYPOINT ["shoal"]
CMD ["run", "--listen", "0.0.0.0:8787", "--state", "/var/lib/shoal/state"]
