# docker build -t bulk-eraser .
# docker run --rm -it -v "$PWD:/data" -u "$(id -u)" bulk-eraser check keys.csv
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY docs/bulk-eraser.1 docs/check_ledger.py docs/
COPY bulk_eraser bulk_eraser
RUN python -m venv /opt/bulk-eraser && /opt/bulk-eraser/bin/pip install --no-cache-dir ".[speed,timestamp,zstd]"

FROM python:3.13-slim
COPY --from=build /opt/bulk-eraser /opt/bulk-eraser
ENV PATH=/opt/bulk-eraser/bin:$PATH
RUN useradd --uid 10001 --create-home eraser
USER 10001
WORKDIR /data
# One command, then it ends: nothing serves, so there is no health to be checked.
ENTRYPOINT ["bulk-eraser"]
