# Values from the pipeline files. Everything else in this folder is declared from them.

locals {
  pipelines = {
    for file in fileset(var.pipelines, "*.yaml") : trimsuffix(file, ".yaml") => yamldecode(file("${var.pipelines}/${file}"))
    if !startswith(file, ".") # editors leave hidden files
  }

  # By "pipeline/phase". The stem is unique, because neither name has a dash.
  phases = merge([
    for pipeline in values(local.pipelines) : {
      for name, phase in pipeline.phases : "${pipeline.pipeline}/${name}" => {
        stem    = "${pipeline.pipeline}-${name}"
        labels  = { pipeline = pipeline.pipeline, phase = name }
        retries = can(phase.retry)
      }
    }
  ]...)

  # Every table that the files name by a key: outputs, needs, the calendar's, and those that checks read besides their own.
  # The keys of checks are those of `other_tables()` in core/checks/kinds.py; a test compares them. A table that is missing
  # here gets no grant, and checks that read it stay unmeasured.
  tables = toset(flatten([
    for pipeline in values(local.pipelines) : concat(
      [for table in [try(pipeline.calendar.expected.table, null)] : table if table != null],
      flatten([for phase in values(pipeline.phases) : [
        for tables in [phase.outputs, try(phase.needs, {})] : [for table, declared in tables : concat([table], [
          for reference in flatten([for check in try(declared.checks, []) : [
            for spec in values(check) : [try(spec.table, ""), try(spec.of, ""), try(spec.per.table, spec.per, "")]
          ]]) : reference if strcontains(reference, ".")
        ])]
      ]])
    )
  ]))
  datasets = setunion(var.warehouse.datasets, [for table in local.tables : regex("^(.+)\\.[^.]+$", table)[0]])

  # `secret://NAME`, anywhere in a file or setting.
  secrets = toset(flatten(regexall("\"secret://([A-Za-z0-9_-]+)\"", jsonencode([local.pipelines, var.environment]))))

  labels            = merge({ app = "phasegate", installation = var.prefix }, var.labels)
  warehouse_project = coalesce(var.warehouse.project, var.project)
}
