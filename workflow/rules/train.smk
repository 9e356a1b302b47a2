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
    threads: cores("train/{stage}")
    resources:
        mem_mb=share("mem_mb", "train/{stage}"),
        runtime=share("runtime", "train/{stage}"),
        nodes=share("nodes", "train/{stage}"),
        tasks=share("tasks", "train/{stage}"),
        mpi=share("mpi", "train/{stage}"),
        gres=share("gres", "train/{stage}"),
        tasks_per_gpu=share("tasks_per_gpu", "train/{stage}"),
        slurm_partition=share("slurm_partition", "train/{stage}"),
        slurm_extra=after("train/{stage}"),
    params:
        settings=settings("train/{stage}"),
        why=why("train/{stage}"),
        execution=execution("train/{stage}"),
        results=results_folder,
        rebuild=GRAPH.project.workflow.rebuild,
    message:
        "Training {wildcards.stage}{params.why}"
    shell:
        "python -m pipeline train {input.manifests:q}"
        " --output {output:q}"
        " --results {params.results:q}"
        " --settings {params.settings:q}"
        " --execution {params.execution:q}"
        " --rebuild={params.rebuild:q}"
        " 2>&1 | tee -i {log:q}"
