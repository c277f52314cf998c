# The CPU image: `docker run --rm -v "$PWD:/data" cmbnet predict /data/scan.nii.gz -o /data/out`
# Research use only. Not a medical device. Not for diagnosis.

FROM python:3.12-slim AS build
WORKDIR /src
COPY setup.py pyproject.toml README.md LICENSE ./
COPY cmbnet cmbnet
RUN pip install --no-cache-dir build==1.3.0 \
    && python -m build --wheel --outdir /wheels

FROM python:3.12-slim
LABEL org.opencontainers.image.title="cmbnet" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Cerebral microbleeds on SWI. Research use only."
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir /wheels/*.whl \
    && rm -r /wheels \
    && useradd --create-home --uid 10001 cmbnet
USER 10001
WORKDIR /home/cmbnet
ENTRYPOINT ["cmbnet"]
CMD ["--help"]
