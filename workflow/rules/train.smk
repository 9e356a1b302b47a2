rule train:
    input:
        manifests=needs("train/{stage}"),
        gate=gate("train/{stage}"),
    output:
        f"{RESULTS}/train/{{stage}}/{MANIFEST}",
    log:
        f"{LOGS}/train/{{stage}}.log",
    benchmark:
        f"{BENCHMARKS}/train/{{stage}}.tsv"
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        settings=settings("train/{stage}"),
        code=code("train"),
        repairs=repairs("train/{stage}"),
        execution=execution("train/{stage}"),
        results=untracked(RESULTS),
        rebuild=untracked(REBUILD),
    message:
        "Training {wildcards.stage}"
    shell:
        "python -m pipeline train {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " --repairs {params.repairs:q}"
        " --rebuild={params.rebuild:q}"
        " 2>&1 | tee -i {log:q}"
