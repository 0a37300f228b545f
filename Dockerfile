# Two images; docs/containers.md says how they are used.
#
#   client      the `scenario` command alone: for remote targets, and for targets in containers through a Docker socket
#   all-in-one  the command beside a Triton server, which it starts itself (launch: {kind: embedded, program: tritonserver})
#
#   docker build --target client -t scenario .
#   docker build --target all-in-one -t scenario-triton .
#
# Settings of pip's and cargo's registries come from the build's environment, never from here; arguments stay in the
# history of the build stages, so a URL with a password does not belong into them.
ARG RUST_IMAGE=rust:1-slim-bookworm
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.04-py3

# The wheel, and a pip that needs nothing of the image that it installs into.
FROM ${RUST_IMAGE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN python3 -c 'import ensurepip' 2>/dev/null \
    || (apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*)
RUN python3 -m venv /build && /build/bin/pip download --no-cache-dir --no-deps --dest /wheels pip \
    && mv /wheels/pip-*.whl /wheels/pip.whl
WORKDIR /src
COPY . .
RUN /build/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${PYTHON_IMAGE} AS installed
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
COPY --from=build /wheels /wheels
RUN python3 -m venv --without-pip /opt/scenario \
    && python3 /wheels/pip.whl/pip --python /opt/scenario/bin/python install --no-cache-dir \
       "$(ls /wheels/scenario_runner-*.whl)[docker]"

FROM ${PYTHON_IMAGE} AS client
COPY --from=installed /opt/scenario /opt/scenario
RUN useradd --create-home --uid 1000 scenario
ENV PATH=${PATH}:/opt/scenario/bin
USER scenario
WORKDIR /home/scenario
ENTRYPOINT ["scenario"]
CMD ["--help"]

FROM ${TRITON_IMAGE} AS all-in-one
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
USER root
COPY --from=build /wheels /wheels
# Setup scripts find the image's own packages; python models never see ours, because theirs stays the first `python3`.
RUN python3 -m venv --without-pip --system-site-packages /opt/scenario \
    && python3 /wheels/pip.whl/pip --python /opt/scenario/bin/python install --no-cache-dir \
       "$(ls /wheels/scenario_runner-*.whl)" \
    && mkdir -m 1777 -p /home/scenario
ENV HOME=/home/scenario PATH=${PATH}:/opt/scenario/bin
USER 1000:1000
WORKDIR /home/scenario
ENTRYPOINT ["scenario"]
CMD ["--help"]
