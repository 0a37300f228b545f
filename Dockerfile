# The client image: the `scenario` command without a server. Targets that need one point it at a server elsewhere.
# Build: docker build -t scenario .        Run: docker run --rm scenario list
ARG RUST_IMAGE=rust:1-slim-bookworm
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${RUST_IMAGE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-pip && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${PYTHON_IMAGE}
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir /wheels/*.whl && rm -rf /wheels \
    && useradd --create-home --uid 1000 scenario
USER scenario
WORKDIR /home/scenario
ENTRYPOINT ["scenario"]
CMD ["--help"]
