-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT day,
  SUM(n0),
  SUM(n1)
FROM (
SELECT a.day AS day,
  COUNT(*) AS n0,
  0 AS n1
FROM (
SELECT `flight_date` AS day, `carrier` AS k0
FROM `clean`.`flights`
WHERE `flight_date` BETWEEN @from AND @to AND `carrier` IS NOT NULL
) AS a
GROUP BY a.day
UNION ALL
SELECT a.day AS day,
  0 AS n0,
  COUNT(*) AS n1
FROM (
SELECT `flight_date` AS day, `carrier` AS k0
FROM `clean`.`flights`
WHERE `flight_date` BETWEEN @from AND @to AND `carrier` IS NOT NULL AND (status = 'flown')
) AS a
GROUP BY a.day
) AS parts
GROUP BY day
