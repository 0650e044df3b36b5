-- What each person's environment cost, by month: the view `benchkeeper.cost_by_user` over the standard usage cost export.
--
-- One row for each invoice month, person (user key, never an address), profile, cost centre, service and currency; net of
-- credits. The labels are those that Benchkeeper writes on every instance and every personal cluster. Machines and disks without
-- these labels are found by the label that Workbench itself writes (`resource-name`, our instance's name); their profile and
-- cost centre are then unknown (NULL). A replacement's name has a number at its end. Not included: BigQuery and other jobs that a
-- person starts (they have no label of ours), and serverless Spark sessions (they have a profile but no person).
WITH usage AS (
  SELECT
    invoice.month AS invoice_month,
    service.description AS service,
    currency,
    cost,
    -- Each label is looked up by its key. A join with the labels would count the cost of a row once for each of its labels.
    (SELECT MAX(label.value) FROM UNNEST(labels) AS label WHERE label.key = 'benchkeeper-user') AS labelled_user,
    (SELECT MAX(label.value) FROM UNNEST(labels) AS label WHERE label.key = 'benchkeeper-profile') AS profile,
    (SELECT MAX(label.value) FROM UNNEST(labels) AS label WHERE label.key = 'cost-center') AS cost_center,
    (SELECT MAX(label.value) FROM UNNEST(labels) AS label WHERE label.key = 'managed-by') AS managed_by,
    (SELECT MAX(label.value) FROM UNNEST(labels) AS label WHERE label.key = 'notebooks-product') AS product,
    (SELECT MAX(label.value) FROM UNNEST(labels) AS label WHERE label.key = 'resource-name') AS instance,
    IFNULL((SELECT SUM(credit.amount) FROM UNNEST(credits) AS credit), 0) AS credited
  FROM `${billing_export}`
  WHERE project.id = '${project}'
),
owned AS (
  SELECT
    invoice_month,
    service,
    currency,
    cost,
    credited,
    profile,
    cost_center,
    CASE
      WHEN managed_by = 'benchkeeper' THEN labelled_user
      WHEN product = 'workbench-instances' THEN REGEXP_EXTRACT(instance, r'^nb-([a-z][a-z0-9-]*-[0-9a-f]{12})(?:-[1-9][0-9]{0,2})?$$')
    END AS user_key
  FROM usage
)
SELECT
  invoice_month,
  user_key,
  profile,
  cost_center,
  service,
  currency,
  ROUND(SUM(cost) + SUM(credited), 6) AS net_cost,
  ROUND(SUM(cost), 6) AS cost,
  ROUND(SUM(credited), 6) AS credits
FROM owned
WHERE user_key IS NOT NULL
GROUP BY invoice_month, user_key, profile, cost_center, service, currency
