rule evaluate:
    input:
        manifests=needs("evaluate/{stage}"),
    output:
        f"{RESULTS}/evaluate/{{stage}}/{MANIFEST}",
    log:
        f"{LOGS}/evaluate/{{stage}}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate/{{stage}}.tsv"
    conda:
        "../../environment.yml"
    threads: cores("evaluate/{stage}")
    resources:
        mem_mb=share("mem_mb", "evaluate/{stage}"),
        runtime=share("runtime", "evaluate/{stage}"),
        gres=share("gres", "evaluate/{stage}"),
        tasks_per_gpu=share("tasks_per_gpu", "evaluate/{stage}"),
        slurm_partition=share("slurm_partition", "evaluate/{stage}"),
        slurm_extra=after("evaluate/{stage}"),
    params:
        settings=settings("evaluate/{stage}"),
        why=why("evaluate/{stage}"),
        execution=execution("evaluate/{stage}"),
        results=results_folder,
    message:
        "Evaluating {wildcards.stage}{params.why}"
    shell:
        "python -m pipeline evaluate {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " > {log:q} 2>&1"


rule ladder:
    input:
        manifests=needs("ladder"),
    output:
        f"{RESULTS}/ladder/{MANIFEST}",
    log:
        f"{LOGS}/ladder.log",
    benchmark:
        f"{BENCHMARKS}/ladder.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=settings("ladder"),
        why=why("ladder"),
        execution=execution("ladder"),
        results=results_folder,
    message:
        "Fitting the scaling law{params.why}"
    shell:
        "python -m pipeline ladder {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " > {log:q} 2>&1"


rule export:
    input:
        manifests=needs("export/{stage}"),
    output:
        f"{RESULTS}/export/{{stage}}/{MANIFEST}",
    log:
        f"{LOGS}/export/{{stage}}.log",
    benchmark:
        f"{BENCHMARKS}/export/{{stage}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        slurm_extra=after("export/{stage}"),
    params:
        settings=settings("export/{stage}"),
        why=why("export/{stage}"),
        execution=execution("export/{stage}"),
        results=results_folder,
    message:
        "Exporting {wildcards.stage}{params.why}"
    shell:
        "python -m pipeline export {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " > {log:q} 2>&1"


rule report:
    input:
        manifests=needs("report/{stage}"),
    output:
        manifest=f"{RESULTS}/report/{{stage}}/{MANIFEST}",
        loss=report(
            f"{RESULTS}/report/{{stage}}/loss.svg",
            caption="../report/loss.rst",
            category="{stage}",
        ),
        validation=report(
            f"{RESULTS}/report/{{stage}}/validation.svg",
            caption="../report/validation.rst",
            category="{stage}",
        ),
        domains=report(
            f"{RESULTS}/report/{{stage}}/domains.svg",
            caption="../report/domains.rst",
            category="{stage}",
        ),
        experts=report(
            f"{RESULTS}/report/{{stage}}/experts.svg",
            caption="../report/experts.rst",
            category="{stage}",
        ),
        mixture=report(
            f"{RESULTS}/report/{{stage}}/mixture.svg",
            caption="../report/mixture.rst",
            category="{stage}",
        ),
        ladder=report(
            f"{RESULTS}/report/{{stage}}/ladder.svg",
            caption="../report/ladder.rst",
            category="{stage}",
        ),
        summary=report(
            f"{RESULTS}/report/{{stage}}/summary.html",
            caption="../report/summary.rst",
            category="{stage}",
        ),
    log:
        f"{LOGS}/report/{{stage}}.log",
    benchmark:
        f"{BENCHMARKS}/report/{{stage}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=settings("report/{stage}"),
        why=why("report/{stage}"),
        execution=execution("report/{stage}"),
        results=results_folder,
    message:
        "Drawing the report of {wildcards.stage}{params.why}"
    shell:
        "python -m pipeline report {input.manifests:q}"
        " --output {output.manifest:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " > {log:q} 2>&1"
