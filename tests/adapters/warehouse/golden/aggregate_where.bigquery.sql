-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
WITH base AS (
SELECT `flight_date` AS day,
  COUNT(*) AS m1
FROM `raw`.`flights`
WHERE `flight_date` BETWEEN @from AND @to
GROUP BY `flight_date`
), side0 AS (
SELECT `flight_date` AS day,
  (AVG(dep_delay)) AS m0,
  (MAX(dep_delay)) AS m2
FROM `raw`.`flights`
WHERE `flight_date` BETWEEN @from AND @to AND (status = 'flown')
GROUP BY `flight_date`
), side1 AS (
SELECT `flight_date` AS day,
  (SUM(x)) AS m3
FROM `raw`.`flights`
WHERE `flight_date` BETWEEN @from AND @to AND (
x > 0 -- late
)
GROUP BY `flight_date`
)
SELECT base.day,
  m0,
  m1,
  m2,
  m3
FROM base
LEFT JOIN side0 ON side0.day = base.day
LEFT JOIN side1 ON side1.day = base.day
