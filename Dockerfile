# The operator's image. `make image` builds it, with buildah the same bytes each time; `docker build .` builds it, too.
#
# BASE: with Python 3.11 or 3.12 and venv as python3 (from 3.13 on kopf's TLS refuses CA certificates without key
# identifiers, as older EKS clusters have them). RUNTIME: what the image stands on, with the same Python in the same place;
# it needs neither shell nor pip. A release has both made of Debian's packages (packaging/image/base.sh); if you take others,
# pin them by digest.
ARG BASE=docker.io/library/python:3.12-slim
ARG RUNTIME=${BASE}

FROM ${BASE} AS build
# Of the machine that builds, where it needs them; nothing of this stage is in the image.
ARG PIP_CERT PIP_FIND_LINKS PIP_INDEX_URL SOURCE_DATE_EPOCH=0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/operator.lock requirements/dev.lock requirements/

# What the operator needs, by hash. The build backend, by the hashes of the development lock file.
RUN python3 -m venv /opt/operator && \
    /opt/operator/bin/pip install -q --no-compile --no-deps --require-hashes -r requirements/operator.lock && \
    python3 -m venv /opt/build && \
    awk '/^[a-z]/ {wanted = /^(hatchling|packaging|pathspec|pluggy|trove-classifiers)==/} wanted' \
        requirements/dev.lock > requirements/build.lock && \
    /opt/build/bin/pip install -q --no-compile --no-deps --require-hashes -r requirements/build.lock

# Our wheel, without the sandbox: it isn't copied. Then what isn't used goes, and what is gets compiled.
COPY pyproject.toml README.md LICENSE ./
COPY operator/elasticache_iam operator/elasticache_iam
COPY packaging/image/prune.py packaging/image/
ENV PYTHONPYCACHEPREFIX=/opt/operator/pycache
RUN export SOURCE_DATE_EPOCH && \
    /opt/build/bin/pip wheel -q --no-deps --no-build-isolation -w /wheels . && \
    /opt/operator/bin/pip install -q --no-compile --no-deps --no-index /wheels/*.whl && \
    /opt/operator/bin/python packaging/image/prune.py

FROM ${RUNTIME}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="elasticache-iam-operator" \
      org.opencontainers.image.description="Passwordless access to Redis and Valkey on AWS for Kubernetes workloads, through IAM" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/operator /opt/operator
# Nothing is written to the root file system: bytecode was made above.
ENV PATH=/opt/operator/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPYCACHEPREFIX=/opt/operator/pycache \
    PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["elasticache-iam"]
CMD ["operator"]
