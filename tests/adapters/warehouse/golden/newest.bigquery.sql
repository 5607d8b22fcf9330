-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT `flight_date`,
  UNIX_SECONDS(CAST(MAX(`loaded_at`) AS TIMESTAMP)),
  UNIX_SECONDS(CAST(MAX(CASE WHEN (status = 'flown') THEN `loaded_at` END) AS TIMESTAMP))
FROM `raw`.`flights`
WHERE `flight_date` BETWEEN @from AND @to
GROUP BY `flight_date`
