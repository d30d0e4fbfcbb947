# The server, sallyport-app: one static program, the public certificate authorities and the licence.
#
#   docker build --tag sallyport-app .
#
# It runs as nobody with a read-only root, and asks the network for nothing at start.
# A database in a file needs a volume; compose.yaml in docs/operate has PostgreSQL.

# golang:1.26.8-bookworm; the version is that of .goreleaser.yaml, so that the program
# is the same as in the release's archives.
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm@sha256:dc9ad6c05acc7a88e5b71bde60a5fe3bd4b9f0db209011711b464107438a8107 AS build
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION=
ENV CGO_ENABLED=0 GOTOOLCHAIN=go1.26.8 GOFLAGS=-mod=readonly GOAMD64=v1 GOARM64=v8.0 GOWORK=off
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags="-s -w -X main.version=$VERSION" -o /sallyport-app ./cmd/sallyport-app

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /sallyport-app /sallyport-app
COPY LICENSE /LICENSE
USER 65532:65532
ENV SALLYPORT_LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["/sallyport-app"]
CMD ["serve"]
