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
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings("mixture/{stage}"),
        code=code("mixture"),
        repairs=repairs("mixture/{stage}"),
        execution=execution("mixture/{stage}"),
        results=untracked(RESULTS),
    message:
        "Planning the mixture of {wildcards.stage}"
    shell:
        "python -m pipeline mixture {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " --repairs {params.repairs:q}"
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
        mem_mb=4000,
        runtime=240,
    params:
        settings=settings("shards/{stage}/{block}"),
        code=code("pack"),
        repairs=repairs("shards/{stage}/{block}"),
        execution=execution("shards/{stage}/{block}"),
        results=untracked(RESULTS),
    message:
        "Packing {wildcards.stage} block {wildcards.block}"
    shell:
        "python -m pipeline pack {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " --repairs {params.repairs:q}"
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
        mem_mb=2000,
        runtime=60,
    params:
        settings=settings("shards/{stage}/validation"),
        code=code("validation"),
        repairs=repairs("shards/{stage}/validation"),
        execution=execution("shards/{stage}/validation"),
        results=untracked(RESULTS),
    message:
        "Packing the validation rows of {wildcards.stage}"
    shell:
        "python -m pipeline validation {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " --repairs {params.repairs:q}"
        " > {log:q} 2>&1"
