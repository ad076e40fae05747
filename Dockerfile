# The operator's image. Another base: --build-arg BASE=…; it needs Python 3.11 or 3.12 with venv as python3 (from 3.13 on
# kopf's TLS refuses CA certificates without key identifiers, as older EKS clusters have them). Pin it by digest for a release.
ARG BASE=docker.io/library/python:3.12-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/operator.lock requirements/dev.lock requirements/

# What the operator needs, by hash.
RUN python3 -m venv /opt/operator && \
    /opt/operator/bin/pip install -q --no-compile --no-deps --require-hashes -r requirements/operator.lock

# The build backend, by the hashes of the development lock file.
RUN python3 -m venv /opt/build && \
    awk '/^[a-z]/ {wanted = /^(hatchling|packaging|pathspec|pluggy|trove-classifiers)==/} wanted' \
        requirements/dev.lock > requirements/build.lock && \
    /opt/build/bin/pip install -q --no-compile --no-deps --require-hashes -r requirements/build.lock

# Our wheel, without the sandbox: it isn't copied. Bytecode is made here, as the root filesystem is read-only at run time;
# not of the Kubernetes client's typed models, which are half of all code and stay unused. Nor is pip of any use there.
COPY pyproject.toml README.md LICENSE ./
COPY operator/elasticache_iam operator/elasticache_iam
RUN /opt/build/bin/pip wheel -q --no-deps --no-build-isolation -w /wheels . && \
    /opt/operator/bin/pip install -q --no-compile --no-deps --no-index /wheels/*.whl && \
    /opt/operator/bin/python -m compileall -q -x 'kubernetes/(aio/)?client/(api|models)/[a-z]' /opt/operator/lib && \
    /opt/operator/bin/pip uninstall -q -y pip setuptools

FROM ${BASE}
LABEL org.opencontainers.image.title="elasticache-iam-operator" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/operator /opt/operator
ENV PATH=/opt/operator/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["elasticache-iam"]
CMD ["operator"]
