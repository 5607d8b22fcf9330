-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT "flight_date",
  CAST(FLOOR(EPOCH(MAX("loaded_at"))) AS BIGINT),
  CAST(FLOOR(EPOCH(MAX(CASE WHEN ("status" = 'flown') THEN "loaded_at" END))) AS BIGINT)
FROM "raw"."flights"
WHERE "flight_date" BETWEEN $from AND $to
GROUP BY "flight_date"
