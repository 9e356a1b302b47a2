rule tokenizer:
    input:
        manifests=needs("tokenizer"),
    output:
        f"{RESULTS}/tokenizer/{MANIFEST}",
    log:
        f"{LOGS}/tokenizer.log",
    benchmark:
        f"{BENCHMARKS}/tokenizer.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        slurm_extra=after("tokenizer"),
    params:
        settings=settings("tokenizer"),
        why=why("tokenizer"),
        execution=execution("tokenizer"),
        results=results_folder,
    message:
        "Training the tokenizer{params.why}"
    shell:
        "python -m pipeline tokenizer {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " > {log:q} 2>&1"


rule tokenize:
    input:
        manifests=needs("tokens/{domain}/{block}"),
    output:
        f"{RESULTS}/tokens/{{domain}}/{{block}}/{MANIFEST}",
    log:
        f"{LOGS}/tokens/{{domain}}/{{block}}.log",
    benchmark:
        f"{BENCHMARKS}/tokens/{{domain}}/{{block}}.tsv"
    conda:
        "../../environment.yml"
    threads: 4
    resources:
        mem_mb=growing(2000),
        runtime=growing(240),
        slurm_extra=after("tokens/{domain}/{block}"),
    params:
        settings=settings("tokens/{domain}/{block}"),
        why=why("tokens/{domain}/{block}"),
        execution=execution("tokens/{domain}/{block}"),
        results=results_folder,
    message:
        "Tokenizing {wildcards.domain} block {wildcards.block}{params.why}"
    shell:
        "python -m pipeline tokenize {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " > {log:q} 2>&1"
