-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT `flight_date`, COUNT(*)
FROM (
SELECT flight_date FROM raw.flights WHERE flight_date BETWEEN @from AND @to AND a > 0
) AS asked
WHERE `flight_date` BETWEEN @from AND @to OR `flight_date` IS NULL
GROUP BY `flight_date`
