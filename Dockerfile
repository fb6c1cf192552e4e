# One image for every role; CYPHONIC_ROLE says which (docs/operations.md).

FROM node:26-bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY scripts scripts
COPY src src
RUN sh scripts/build-sea.sh

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends nftables iproute2 && rm -rf /var/lib/apt/lists/* \
  && useradd --system --uid 7440 --home-dir /var/lib/cyphonic --create-home cyphonic \
  && chmod 0700 /var/lib/cyphonic
COPY --from=build /build/dist/cyphonic /usr/local/bin/cyphonic
COPY deploy/docker/entrypoint.sh deploy/docker/healthcheck.sh /usr/local/lib/cyphonic/
# A node or adapter makes interfaces and needs more: --user root --cap-add NET_ADMIN --cap-add NET_RAW --device /dev/net/tun
USER cyphonic
VOLUME /var/lib/cyphonic
EXPOSE 7440/tcp 7441/udp 7442/udp 443/tcp 7443/tcp 7444/udp
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/lib/cyphonic/healthcheck.sh"]
ENTRYPOINT ["/usr/local/lib/cyphonic/entrypoint.sh"]
