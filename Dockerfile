# One image with all programs: they share most of their code, and a deployment
# has one thing to pin. The last stage is empty but for static programs, so there
# is no shell in it; `probe` makes the health checks. The stage before it is Envoy's own
# image with the module by which it answers for known sessions.
#
#   docker build -t stateful-route:dev .
#   docker build -t stateful-route-envoy:dev --target envoy .
#
# Nothing here needs BuildKit.
FROM golang:1.26.5-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -o /out/bin/ \
    -ldflags "-s -w -X github.com/stateful-route/stateful-route/internal/cli.version=${VERSION}" \
    ./cmd/xds-server ./cmd/extproc ./cmd/routectl ./cmd/demo-pod ./cmd/probe
# A named volume takes the owner of the folder it is first mounted on.
RUN mkdir -p /state
# Where there is no C compiler this says so and builds nothing: the image of Envoy then
# cannot be built, rather than be one whose requests all ask extproc.
RUN mkdir -p /out/lib && fastpath/module/build.sh /out/lib/libstateful_route.so

FROM envoyproxy/envoy:v1.40.0 AS envoy
COPY --from=build /out/lib/libstateful_route.so /usr/local/lib/libstateful_route.so

FROM scratch
ENV PATH=/usr/local/bin
# For exporters that speak TLS to a collector.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/bin/ /usr/local/bin/
COPY --from=build --chown=65532:65532 /state/ /var/lib/stateful-route/
USER 65532:65532
WORKDIR /var/lib/stateful-route
