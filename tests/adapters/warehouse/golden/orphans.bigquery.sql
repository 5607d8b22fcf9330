-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT a.day AS day,
  COUNT(*) AS n0,
  COUNT(*) - COUNT(b0.k0) AS n1
FROM (
SELECT `flight_date` AS day, `carrier` AS k0, `flight` AS k1
FROM `clean`.`flights`
WHERE `flight_date` BETWEEN @from AND @to AND `carrier` IS NOT NULL AND `flight` IS NOT NULL
) AS a
LEFT JOIN (
SELECT DISTINCT `day` AS day, `carrier` AS k0, `number` AS k1
FROM `my-project`.`raw`.`flights`
WHERE `day` BETWEEN @from AND @to AND `carrier` IS NOT NULL AND `number` IS NOT NULL
) AS b0 ON b0.day = a.day AND b0.k0 = a.k0 AND b0.k1 = a.k1
GROUP BY a.day
