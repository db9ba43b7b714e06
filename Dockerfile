# One image for every program of paastis: `docker run … paastis`, `… paastis check`, `… paastis demo`.

FROM python:3.13-slim AS build
WORKDIR /src
COPY constraints.txt ./
RUN python -m venv /opt/paastis \
    && /opt/paastis/bin/pip install --no-cache-dir --constraint constraints.txt pip
COPY pyproject.toml README.md LICENSE ./
COPY paastis ./paastis
COPY controller ./controller
COPY proxy ./proxy
RUN /opt/paastis/bin/pip wheel --no-cache-dir --no-deps --build-constraint constraints.txt --wheel-dir /wheels . \
    && /opt/paastis/bin/pip install --no-cache-dir --constraint constraints.txt /wheels/*.whl

FROM python:3.13-slim
COPY --from=build /opt/paastis /opt/paastis
# A number, not a name: Kubernetes can tell from it that this is not root.
RUN install -d -o 10001 -g 10001 /data /etc/paastis
# .env and paastis.yml are looked for in the working directory; both are mounted, never copied.
WORKDIR /etc/paastis
ENV PATH=/opt/paastis/bin:$PATH \
    HOME=/data \
    PYTHONUNBUFFERED=1 \
    REGISTRY_STATE_FILE=/data/paastis.db
VOLUME /data
USER 10001:10001
EXPOSE 3000 3001
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('ROUTING_SYSTEM_API_PORT', 3001)), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["paastis"]
CMD ["run"]
