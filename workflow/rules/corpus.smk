rule download:
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
        mem_mb=1000,
        runtime=240,
    params:
        settings=settings("raw/{domain}/{block}"),
        code=code("download"),
        repairs=repairs("raw/{domain}/{block}"),
        execution=execution("raw/{domain}/{block}"),
        results=untracked(RESULTS),
        stamp=stamp("raw/{domain}/{block}"),
        files=files("raw/{domain}/{block}"),
    message:
        "Fetching {wildcards.domain} block {wildcards.block}"
    shell:
        "python -m pipeline download"
        " {params.files:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " --repairs {params.repairs:q}"
        " > {log:q} 2>&1"
