rule mixture:
    input:
        manifests=needs("mixture/{stage}"),
    output:
        f"{RESULTS}/mixture/{{stage}}/{MANIFEST}",
    log:
        f"{LOGS}/mixture/{{stage}}.log",
    benchmark:
        f"{BENCHMARKS}/mixture/{{stage}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        slurm_extra=after("mixture/{stage}"),
    params:
        settings=settings("mixture/{stage}"),
        why=why("mixture/{stage}"),
        execution=execution("mixture/{stage}"),
        results=results_folder,
    message:
        "Planning the mixture of {wildcards.stage}{params.why}"
    shell:
        "python -m pipeline mixture {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " > {log:q} 2>&1"


rule pack:
    input:
        manifests=needs("shards/{stage}/{block}"),
    output:
        f"{RESULTS}/shards/{{stage}}/{{block}}/{MANIFEST}",
    log:
        f"{LOGS}/shards/{{stage}}/{{block}}.log",
    benchmark:
        f"{BENCHMARKS}/shards/{{stage}}/{{block}}.tsv"
    wildcard_constraints:
        block=NUMBER,
    conda:
        "../../environment.yml"
    threads: 4
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        slurm_extra=after("shards/{stage}/{block}"),
    params:
        settings=settings("shards/{stage}/{block}"),
        why=why("shards/{stage}/{block}"),
        execution=execution("shards/{stage}/{block}"),
        results=results_folder,
    message:
        "Packing {wildcards.stage} block {wildcards.block}{params.why}"
    shell:
        "python -m pipeline pack {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " > {log:q} 2>&1"


rule validation:
    input:
        manifests=needs("shards/{stage}/validation"),
    output:
        f"{RESULTS}/shards/{{stage}}/validation/{MANIFEST}",
    log:
        f"{LOGS}/shards/{{stage}}/validation.log",
    benchmark:
        f"{BENCHMARKS}/shards/{{stage}}/validation.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
        slurm_extra=after("shards/{stage}/validation"),
    params:
        settings=settings("shards/{stage}/validation"),
        why=why("shards/{stage}/validation"),
        execution=execution("shards/{stage}/validation"),
        results=results_folder,
    message:
        "Packing the validation rows of {wildcards.stage}{params.why}"
    shell:
        "python -m pipeline validation {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " > {log:q} 2>&1"
