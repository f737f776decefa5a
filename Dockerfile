# hist2st on the CPU: docker build -t hist2st . && docker run --rm -v "$PWD:/data" hist2st predict MODEL SLIDE.svs -o OUT.h5ad
# No compiler is needed. The image is built by the workflow; nothing but that has tested it.
FROM python:3.11-slim

WORKDIR /src
COPY . .
# torch's CPU build first: the index's own brings CUDA's libraries, several GB.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' constraints.txt)" \
    && pip install --no-cache-dir --constraint constraints.txt '.[cluster,slides,spatialdata,pathways,hub]' \
    && rm -rf /src/*

# Matplotlib, numba and wandb write caches to the home folder, whoever runs the image.
ENV HOME=/tmp
WORKDIR /data
ENTRYPOINT ["hist2st"]
CMD ["--help"]
