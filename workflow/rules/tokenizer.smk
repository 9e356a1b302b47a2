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
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings("tokenizer"),
        code=code("tokenizer"),
        repairs=repairs("tokenizer"),
        execution=execution("tokenizer"),
        results=untracked(RESULTS),
    message:
        "Training the tokenizer"
    shell:
        "python -m pipeline tokenizer {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " --repairs {params.repairs:q}"
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
        mem_mb=2000,
        runtime=240,
    params:
        settings=settings("tokens/{domain}/{block}"),
        code=code("tokenize"),
        repairs=repairs("tokens/{domain}/{block}"),
        execution=execution("tokens/{domain}/{block}"),
        results=untracked(RESULTS),
    message:
        "Tokenizing {wildcards.domain} block {wildcards.block}"
    shell:
        "python -m pipeline tokenize {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " --repairs {params.repairs:q}"
        " > {log:q} 2>&1"
