-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT a.day AS day,
  COUNT(*) - COUNT(b0.k0) AS n0
FROM (
SELECT `flight_date` AS day, `tailnum` AS k0
FROM `raw`.`flights`
WHERE `flight_date` BETWEEN @from AND @to AND `tailnum` IS NOT NULL AND (status = 'flown')
) AS a
LEFT JOIN (
SELECT DISTINCT `tail` AS k0
FROM `raw`.`planes`
WHERE `tail` IS NOT NULL
) AS b0 ON b0.k0 = a.k0
GROUP BY a.day
