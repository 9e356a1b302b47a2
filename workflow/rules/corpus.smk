rule download:
    input:
        manifests=needs("raw/{domain}/{block}"),
    output:
        f"{RESULTS}/raw/{{domain}}/{{block}}/{MANIFEST}",
    log:
        f"{LOGS}/raw/{{domain}}/{{block}}.log",
    benchmark:
        f"{BENCHMARKS}/raw/{{domain}}/{{block}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(240),
        slurm_extra=after("raw/{domain}/{block}"),
    params:
        settings=settings("raw/{domain}/{block}"),
        why=why("raw/{domain}/{block}"),
        execution=execution("raw/{domain}/{block}"),
        results=results_folder,
        files=files("raw/{domain}/{block}"),
    message:
        "Fetching {wildcards.domain} block {wildcards.block}{params.why}"
    shell:
        "python -m pipeline download"
        " {params.files:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " > {log:q} 2>&1"
