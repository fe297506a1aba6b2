FROM rust:1 AS build
COPY . /src
RUN cargo install --locked --path /src/pod-identity-agent --root /out

FROM debian:stable-slim
COPY --from=build /out/bin/pod-identity-agent /usr/local/bin/
ENTRYPOINT ["pod-identity-agent"]
